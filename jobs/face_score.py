from raypipe.jobs.face_score import JOB

if __name__ == "__main__":
    JOB.main()
